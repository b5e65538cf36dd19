"""Command lines; each module is a tool and a subcommand of ``transreid``."""
