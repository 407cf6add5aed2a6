"""keepalived's command line: the options, files and exit codes its units and scripts rely on."""
