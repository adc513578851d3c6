"""A run as one HTML page that loads nothing from elsewhere. Loads no torch."""
