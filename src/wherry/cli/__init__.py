"""The command: one file a subcommand; the only room that prints and exits."""
