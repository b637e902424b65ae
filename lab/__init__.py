"""An emulated arm64 host. assets.py lies here because it joins what all the folders make."""
