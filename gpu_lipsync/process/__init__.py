"""What a run needs of its process: device, threads, memory, signals, console, files to read and write."""
