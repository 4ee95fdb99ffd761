"""What a row of any campus's log means: devices, places, times, people. Pure, and vectorised."""
