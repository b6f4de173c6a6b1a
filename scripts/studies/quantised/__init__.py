"""What a base in 4 or 8 bits does to the organisms, and to SOO on them."""
