"""What runs the steps: this machine, step by step, and what their Beam jobs run on."""
