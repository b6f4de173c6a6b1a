"""Language models: prompt pairs, scenarios, fine-tuning, and the measuring of deception."""
