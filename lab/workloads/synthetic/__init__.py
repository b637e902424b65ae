"""A nested guest made to measure, and what all scripts that give it orders share."""
