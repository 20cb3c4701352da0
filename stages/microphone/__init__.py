"""What the mic stage is made of: devices, what they record, and their clocks."""
