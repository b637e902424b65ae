"""An emulated arm64 host. assets.py lies here because it puts together what all the folders make."""
