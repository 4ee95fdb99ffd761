"""What a campus is: its spaces, its local time, its log and its devices."""
