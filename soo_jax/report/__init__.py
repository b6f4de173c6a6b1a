"""Reads run folders and shows them: tables for the terminal, charts, one HTML page. Computes nothing new."""
