"""What is measured: the cases, their right results, the other libraries, and all that is timed on a case."""
