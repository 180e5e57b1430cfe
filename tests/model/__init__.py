"""Small models of parts of the protocol: the specification in code, checked by random schedules."""
