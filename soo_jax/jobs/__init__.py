"""The jobs of the program, each writing one run folder: thin over the library, and all of them over one job record."""
