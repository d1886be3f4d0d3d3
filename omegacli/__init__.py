"""The command line of omega|ml: `omegacli`, also `python -m omegacli`."""
