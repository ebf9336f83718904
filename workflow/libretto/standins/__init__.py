"""Stand-ins for the sources: a composed corpus and tiny base checkpoints, through which every rule of the demo runs."""
