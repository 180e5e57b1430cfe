"""Messages and their bytes: the only place that knows bytes."""
