"""What attached programs have counted: their maps, read and turned into plain data."""
