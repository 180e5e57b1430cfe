"""Processes that commands run: an agent, a demo, and how they log.

    agent_process    one node and its HTTP server, until a signal or a `leave`
    reload           what an agent reads anew at SIGHUP
    service_manager  systemd, which is told that an agent is ready, reloads, lives and stops
    demo_processes   agents as child processes, their logs side by side
    logs             the outputs to which lines of the log go
    log_queue        lines on their way there, while nobody reads
    terminal         the log as a person at a terminal sees it
    memory           the memory that glibc gives back to the system
    open_files       the number of files that the process may have open

Commands import them when they run, so that --help is quick.
"""
