"""How large a gRPC message may be, the same limit for client and server."""

# gRPC's own limit is 4 MiB, which a batch of 512 x 512 slices in 16 bit already reaches.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def size_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """Options of a gRPC channel or server that allow messages of that many bytes both ways."""
    return [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
    ]
