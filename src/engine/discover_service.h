/* SPDX-License-Identifier: Apache-2.0 */
/* engine/discover_service.h - the service parameters as OpenRPC components. Pure. */
#ifndef RBK_ENGINE_DISCOVER_SERVICE_H
#define RBK_ENGINE_DISCOVER_SERVICE_H

#include "base/buf.h"

/* "schemas":{…},"contentDescriptors":{…}: those parameters that this version offers. */
void rbk_discover_service(rbk_buf *b, int64_t max_timeout_ms);

#endif
