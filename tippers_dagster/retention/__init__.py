"""What identifies people is deleted: sessions after a set time, and whom one is asked to forget."""
