/*
 * transcode.h - one value from JSON to msgpack and back. Pure. Output is bounded by the buffer's ceiling.
 *
 * What has no twin on the other side:
 * - JSON integers beyond 64 bits, and all numbers with a fraction or an exponent, become doubles (1e400: infinity; -0:
 *   a double, to keep its sign); half a surrogate pair becomes U+FFFD.
 * - msgpack bin becomes a base64 string, ext {"ext":TYPE,"data":BASE64} (timestamps too), infinities and NaN null,
 * bytes of a str that are not UTF-8 U+FFFD each. A map key that is no str becomes the string of its JSON form ("7",
 * "true", "null"), a bin key its base64; container and ext keys are refused (mp_check refuses them at the border
 * already). Double keys pass through.
 */
#ifndef PROTO_TRANSCODE_H
#define PROTO_TRANSCODE_H

#include "core/buf.h"

/* Appends the other form of one whole value. False: at the buffer's ceiling, or `in` is not exactly one value within
 * the depth bounds; then nothing was added. */
bool transcode_json_to_msgpack(struct span in, struct buf *out) MUST_CHECK;
bool transcode_msgpack_to_json(struct span in, struct buf *out) MUST_CHECK;

#endif
