"""The study of the paper's preset: why joint MADDPG with the reference's settings does or does not learn."""
