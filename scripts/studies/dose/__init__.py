"""How much SOO lowers how much deception: 64 MADDPG deceivers against eight reds, at five weights, beside controls."""
