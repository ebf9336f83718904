"""What the config says. The Snakefile imports these modules on every call: they must stay quick to import."""
