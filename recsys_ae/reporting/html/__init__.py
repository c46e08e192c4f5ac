"""The results of a run, or of a comparison, as one HTML file that needs nothing else: no server, no network, no other file."""
