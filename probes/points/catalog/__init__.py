"""The probe points as data, and the terms that they are stated in."""
