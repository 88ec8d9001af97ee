"""The commands beside training: each module has `add_arguments(parser)` and `run(arguments)`."""
