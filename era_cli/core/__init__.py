"""The Lightning core: a Recipe in, results out. Knows neither console nor reports."""
