/*
 * metrics_list.h - every counter (C) and gauge (G) of the broker. X(id, type, name, labels, help)
 * Lines of one name stand together. A gauge with type T is shown per thread.
 */
#ifndef CORE_METRICS_LIST_H
#define CORE_METRICS_LIST_H

#define METRICS_LIST(X)                                                                                                \
    X(CONNS_OPEN, T, "crier_connections", "", "Connections open now.")                                                 \
    X(CONNS_WS, G, "crier_clients", "transport=\"websocket\"", "Clients with a session now.")                          \
    X(CONNS_SSE, G, "crier_clients", "transport=\"sse\"", "Clients with a session now.")                               \
    X(CONNS_POLL, G, "crier_clients", "transport=\"poll\"", "Clients with a session now.")                             \
    X(CONNS_TCP, G, "crier_clients", "transport=\"tcp\"", "Clients with a session now.")                               \
    X(POLLS_HELD, G, "crier_polls_held", "", "Polls that are not answered yet.")                                       \
    X(CONNS_ACCEPTED, C, "crier_accepted_total", "", "Connections accepted.")                                          \
    X(CONNS_REFUSED, C, "crier_refused_total", "reason=\"address\"",                                                   \
      "Connections refused at once because their address has too many.")                                               \
    X(CONNS_MOVED, C, "crier_moved_total", "", "Connections moved to the shard that owns their user.")                 \
    X(USERS, G, "crier_users", "", "Users with a connection on this node, per shard summed.")                          \
    X(ROOMS, G, "crier_rooms", "", "Rooms with members on this node, per shard summed.")                               \
    X(BYTES_IN, C, "crier_bytes_total", "direction=\"in\"", "Bytes over client connections.")                          \
    X(BYTES_OUT, C, "crier_bytes_total", "direction=\"out\"", "Bytes over client connections.")                        \
    X(CLIENT_MSGS_IN, C, "crier_client_messages_total", "", "Messages received from clients.")                         \
    X(DELIVERED, C, "crier_deliveries_total", "", "Messages queued to a connection.")                                  \
    X(ENCODED, C, "crier_encodings_total", "",                                                                         \
      "Times a message was encoded for a wire form (shared by all receivers).")                                        \
    X(DEFLATED, C, "crier_deflated_total", "",                                                                         \
      "Times a WebSocket message was compressed (shared by all receivers with the same codec and window).")            \
    X(DEFLATE_SAVED, C, "crier_deflate_saved_bytes_total", "",                                                         \
      "Bytes that compressing took off messages, once for each time one was compressed.")                              \
    X(INFLATED, C, "crier_inflated_total", "", "Compressed messages received from clients.")                           \
    X(INFLATE_BAD, C, "crier_inflate_failures_total", "reason=\"bad_data\"",                                           \
      "Compressed messages from clients that could not be inflated.")                                                  \
    X(INFLATE_TOO_BIG, C, "crier_inflate_failures_total", "reason=\"too_big\"",                                        \
      "Compressed messages from clients that could not be inflated.")                                                  \
    X(WRITES, C, "crier_writes_total", "", "Write system calls on client connections.")                                \
    X(PUSH_USER, C, "crier_push_total", "target=\"user\"", "Messages accepted by the server API and from clients.")    \
    X(PUSH_ROOM, C, "crier_push_total", "target=\"room\"", "Messages accepted by the server API and from clients.")    \
    X(PUSH_ALL, C, "crier_push_total", "target=\"all\"", "Messages accepted by the server API and from clients.")      \
    X(STORED, C, "crier_stored_total", "", "Messages stored in an inbox by this node.")                                \
    X(FETCHES, C, "crier_fetches_total", "", "Pages fetched from inboxes.")                                            \
    X(GAPS, C, "crier_gaps_total", "", "Clients told of messages that the inbox no longer had.")                       \
    X(LEDGER_EVENTS, C, "crier_ledger_events_total", "", "Events of tracked messages written to the ledger.")          \
    X(LEDGER_DROPPED, C, "crier_ledger_dropped_total", "",                                                             \
      "Events of tracked messages that the ledger did not get: too many, or the store was away.")                      \
    X(ACKS, C, "crier_acks_total", "", "Device cursors written.")                                                      \
    X(DROP_LOW, C, "crier_drops_total", "reason=\"low\"", "Messages not delivered to a connection, by reason.")        \
    X(DROP_NORMAL, C, "crier_drops_total", "reason=\"normal\"", "Messages not delivered to a connection, by reason.")  \
    X(DROP_COLLAPSED, C, "crier_drops_total", "reason=\"collapsed\"",                                                  \
      "Messages not delivered to a connection, by reason.")                                                            \
    X(DROP_BEHIND, C, "crier_drops_total", "reason=\"behind\"", "Messages not delivered to a connection, by reason.")  \
    X(DROP_LANE, C, "crier_drops_total", "reason=\"lane_full\"", "Messages not delivered to a connection, by reason.") \
    X(DROP_EXPIRED, C, "crier_drops_total", "reason=\"expired\"",                                                      \
      "Messages not delivered to a connection, by reason.")                                                            \
    X(DROP_MEMORY, C, "crier_drops_total", "reason=\"memory\"", "Messages not delivered to a connection, by reason.")  \
    X(LEFT_TO_INBOX, C, "crier_left_to_inbox_total", "",                                                               \
      "Stored messages not queued to a slow connection, to be fetched later.")                                         \
    X(CLOSE_NORMAL, C, "crier_closes_total", "reason=\"normal\"", "Connections closed, by reason.")                    \
    X(CLOSE_PEER_GONE, C, "crier_closes_total", "reason=\"peer_gone\"", "Connections closed, by reason.")              \
    X(CLOSE_HTTP_DONE, C, "crier_closes_total", "reason=\"http_done\"", "Connections closed, by reason.")              \
    X(CLOSE_DRAIN, C, "crier_closes_total", "reason=\"drain\"", "Connections closed, by reason.")                      \
    X(CLOSE_IDLE, C, "crier_closes_total", "reason=\"idle\"", "Connections closed, by reason.")                        \
    X(CLOSE_HANDSHAKE_TIMEOUT, C, "crier_closes_total", "reason=\"handshake_timeout\"",                                \
      "Connections closed, by reason.")                                                                                \
    X(CLOSE_WRITE_TIMEOUT, C, "crier_closes_total", "reason=\"write_timeout\"", "Connections closed, by reason.")      \
    X(CLOSE_SLOW, C, "crier_closes_total", "reason=\"slow_consumer\"", "Connections closed, by reason.")               \
    X(CLOSE_PROTOCOL, C, "crier_closes_total", "reason=\"protocol\"", "Connections closed, by reason.")                \
    X(CLOSE_TOO_BIG, C, "crier_closes_total", "reason=\"too_big\"", "Connections closed, by reason.")                  \
    X(CLOSE_RATE, C, "crier_closes_total", "reason=\"rate_limited\"", "Connections closed, by reason.")                \
    X(CLOSE_POLICY, C, "crier_closes_total", "reason=\"policy\"", "Connections closed, by reason.")                    \
    X(CLOSE_UNAUTHORIZED, C, "crier_closes_total", "reason=\"unauthorized\"", "Connections closed, by reason.")        \
    X(CLOSE_EXPIRED, C, "crier_closes_total", "reason=\"token_expired\"", "Connections closed, by reason.")            \
    X(CLOSE_REPLACED, C, "crier_closes_total", "reason=\"replaced\"", "Connections closed, by reason.")                \
    X(CLOSE_OVERLOAD, C, "crier_closes_total", "reason=\"overload\"", "Connections closed, by reason.")                \
    X(CLOSE_SERVER, C, "crier_closes_total", "reason=\"server\"", "Connections closed, by reason.")                    \
    X(CLOSE_MEMORY, C, "crier_closes_total", "reason=\"memory\"", "Connections closed, by reason.")                    \
    X(CLOSE_TLS, C, "crier_closes_total", "reason=\"tls\"", "Connections closed, by reason.")                          \
    X(HANDSHAKE_TLS_FAILED, C, "crier_handshake_failures_total", "stage=\"tls\"", "Handshakes that failed.")           \
    X(HANDSHAKE_HTTP_FAILED, C, "crier_handshake_failures_total", "stage=\"http\"", "Handshakes that failed.")         \
    X(HANDSHAKE_ORIGIN, C, "crier_handshake_failures_total", "stage=\"origin\"", "Handshakes that failed.")            \
    X(HANDSHAKE_AUTH, C, "crier_handshake_failures_total", "stage=\"auth\"", "Handshakes that failed.")                \
    X(HTTP_REQUESTS, C, "crier_http_requests_total", "", "HTTP requests answered or upgraded.")                        \
    X(HTTP_4XX, C, "crier_http_errors_total", "class=\"4xx\"", "HTTP requests answered with an error.")                \
    X(HTTP_5XX, C, "crier_http_errors_total", "class=\"5xx\"", "HTTP requests answered with an error.")                \
    X(BAD_MESSAGES, C, "crier_bad_messages_total", "source=\"client\"", "Messages refused.")                           \
    X(BAD_PUBLISH, C, "crier_bad_messages_total", "source=\"redis\"", "Messages refused.")                             \
    X(RATE_LIMITED, C, "crier_rate_limited_total", "", "Messages of clients refused because they came too fast.")      \
    X(ODD_ENVELOPES, C, "crier_odd_envelopes_total", "",                                                               \
      "Payloads with a data member and unknown members, taken as data whole.")                                         \
    X(OUTQ_BYTES, T, "crier_output_queue_bytes", "", "Bytes waiting in output queues.")                                \
    X(LANE_DEPTH, T, "crier_lane_depth", "", "Items waiting in this thread's inbox, all lanes.")                       \
    X(LANE_FULL, C, "crier_lane_full_total", "", "Times a lane between threads was found full.")                       \
    X(LOOP_TURNS, T, "crier_loop_turns_total", "", "Turns of this thread's event loop.")                               \
    X(REDIS_UP, G, "crier_redis_up", "", "1 while the store answers.")                                                 \
    X(REDIS_READY, G, "crier_redis_ready", "", "1 while the node's own probe comes back through the store.")           \
    X(REDIS_RECONNECTS, C, "crier_redis_reconnects_total", "", "Times the connection to Redis was made anew.")         \
    X(REDIS_COMMANDS, C, "crier_redis_commands_total", "", "Commands sent to Redis.")                                  \
    X(REDIS_ERRORS, C, "crier_redis_errors_total", "", "Error replies and timeouts from Redis.")                       \
    X(REDIS_RECEIVED, C, "crier_redis_published_total", "", "Messages received over Redis subscriptions.")             \
    X(REDIS_PROBE_US, G, "crier_redis_probe_microseconds", "",                                                         \
      "Round trip of the last probe published through Redis.")                                                         \
    X(CHANNELS, G, "crier_redis_channels", "", "Redis channels subscribed.")                                           \
    X(NODES, G, "crier_nodes", "", "Nodes alive as this node sees them.")                                              \
    X(REDIS_PROBE_AGE, G, "crier_redis_probe_age_milliseconds", "",                                                    \
      "Time since the node's own probe last came back through Redis.")                                                 \
    X(DEAF, C, "crier_redis_deaf_total", "", "Times a subscription that brought nothing was made anew.")               \
    X(FENCED, C, "crier_fenced_total", "", "Times the cluster took this node for dead and it went on as another.")     \
    X(SWEPT, C, "crier_swept_nodes_total", "", "Dead nodes whose registrations this node has taken back.")             \
    X(INGEST_READER, G, "crier_ingest_reader", "", "1 while this node is one of those that store bare publishes.")     \
    X(INGEST_BYTES, G, "crier_ingest_window_bytes", "", "Bare publishes kept until they are stored, or known to be.")  \
    X(INGEST_REPLAYS, C, "crier_ingest_replays_total", "",                                                             \
      "Bare publishes tried in the stead of a node that died or missed them.")                                         \
    X(CLAIMS_REFUSED, C, "crier_claims_refused_total", "", "Bare publishes that another node had stored already.")     \
    X(HOLES, C, "crier_holes_total", "", "Times a node, this one too, said that it missed bare publishes.")            \
    X(INGEST_EVICTED, C, "crier_ingest_evicted_total", "",                                                             \
      "Bare publishes of other nodes let go early, since the window was full.")                                        \
    X(SYNC_MS, G, "crier_sync_milliseconds", "", "How long all users took to be registered again, the last time.")     \
    X(AUDITS, C, "crier_audits_total", "", "Times the shards, the store and its keys were compared.")                  \
    X(AUDIT_MS, G, "crier_audit_milliseconds", "", "How long the last of them took.")                                  \
    X(AUDIT_BEHIND, C, "crier_audit_behind_total", "", "Users told by an audit that there is more for them.")          \
    X(AUDIT_MENDED, C, "crier_audit_mended_total", "", "Registrations that an audit made or took back.")               \
    X(INGEST_LOST, C, "crier_ingest_lost_total", "", "Bare publishes given up: too many, or Redis away for too long.")

#endif
