"""Minutes of an experiment at its real size, before days of it: speed, memory, and what would stop it later."""
