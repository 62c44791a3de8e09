"""What Splitfleet runs on: PoCL from the wheels, the virtual phone, the demo."""
