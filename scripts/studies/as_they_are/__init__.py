"""What real models answer before anything was done to them: all families, both orders, three answer suffixes."""
