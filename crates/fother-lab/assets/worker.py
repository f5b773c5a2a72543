#!/usr/bin/python3
"""Counts jobs and answers each connection with the count."""
import socket

server = socket.create_server(("127.0.0.1", 9000))
done = 0
while True:
    connection, _ = server.accept()
    done += 1
    connection.sendall(b"lab-worker 1.0 job %d\n" % done)
    connection.close()
