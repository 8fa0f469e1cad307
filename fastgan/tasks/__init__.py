"""What each command does once its command line is read: it wires the rooms together and prints."""
