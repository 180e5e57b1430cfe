"""What everything else speaks of: values that never change."""
