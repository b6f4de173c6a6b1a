"""Reports about agents."""
