"""What keeps a worker healthy: the disk, the backlog, stalls, idle partitions, indexes, the database's opening."""
