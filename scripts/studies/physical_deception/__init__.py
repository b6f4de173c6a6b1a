"""The study of agents: both games, the paper's learner, controls and detection; every run, and the record page."""
