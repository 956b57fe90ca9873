/* SPDX-License-Identifier: Apache-2.0 */
/* examples/demo_module.c - a module: methods in a shared object that `ringback serve`
 * loads.
 *
 *     cc -shared -fPIC demo_module.c -o demo.so $(pkg-config --cflags ringback)
 *     ringback serve --set 'method."demo.*".module=./demo.so'
 *
 * OrderService.processOrder {orderId}   the order of the README
 * demo.echo                             its params
 * demo.sleep {seconds}                  answers after a while, holding a method thread
 * demo.fail {code, message}             answers with that error */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include <ringback.h>

#include <time.h>

static void process_order(rbk_call *call, void *user)
{
    rbk_str order;
    (void)user;
    if (rbk_param_str(call, "/orderId", &order) < 0) {
        rbk_call_bad_param(call, "orderId", "must be a string");
        return;
    }
    rbk_json *j = rbk_call_json(call);
    rbk_json_object(j);
    rbk_json_key(j, "orderId");
    rbk_json_str(j, order);
    rbk_json_key(j, "status");
    rbk_json_text(j, "completed");
    rbk_json_key(j, "totalAmount");
    rbk_json_double(j, 99.99);
    rbk_json_key(j, "message");
    rbk_json_text(j, "Your order has been processed successfully.");
    rbk_json_end(j);
    rbk_call_result_json(call, j);
}

static void echo(rbk_call *call, void *user)
{
    rbk_str params = rbk_call_params(call);
    (void)user;
    if (params.p == NULL)
        rbk_call_result(call, "null", 4);
    else
        rbk_call_result(call, params.p, params.n);
}

static void sleep_some(rbk_call *call, void *user)
{
    enum { SLICE_MS = 10 };
    double seconds;
    (void)user;
    if (rbk_param_double(call, "/seconds", &seconds) < 0 || !(seconds >= 0 && seconds <= 3600)) {
        rbk_call_bad_param(call, "seconds", "must be a number from 0 to 3600");
        return;
    }
    /* In slices, so that a call nobody waits for any more gives its thread back. */
    for (double left = seconds * 1000; left > 0 && !rbk_call_cancelled(call); left -= SLICE_MS) {
        double ms = left < SLICE_MS ? left : SLICE_MS;
        nanosleep(&(struct timespec){.tv_nsec = (long)(ms * 1000000)}, NULL);
    }
    rbk_json *j = rbk_call_json(call);
    rbk_json_object(j);
    rbk_json_key(j, "slept");
    rbk_json_double(j, seconds);
    rbk_json_end(j);
    rbk_call_result_json(call, j);
}

static void fail(rbk_call *call, void *user)
{
    int64_t code;
    rbk_str message;
    char text[256];
    (void)user;
    if (rbk_param_int(call, "/code", &code) < 0) {
        rbk_call_bad_param(call, "code", "must be an integer");
        return;
    }
    if (rbk_param_str(call, "/message", &message) < 0 || message.n >= sizeof text) {
        rbk_call_bad_param(call, "message", "must be a string of at most 255 bytes");
        return;
    }
    for (size_t i = 0; i < message.n; i++)
        text[i] = message.p[i];
    text[message.n] = 0;
    rbk_call_error(call, code, text, NULL);
}

RBK_API int ringback_module_init(rbk_module *module);

int ringback_module_init(rbk_module *module)
{
    static const rbk_method methods[] = {
        {.name = "OrderService.processOrder", .fn = process_order,
         .description = "Processes an order and says what it cost.",
         .params_schema = "{\"type\":\"object\",\"required\":[\"orderId\"],\"properties\":{\"orderId\":"
                          "{\"type\":\"string\",\"description\":\"Which order.\"}}}",
         .result_schema = "{\"type\":\"object\",\"properties\":{\"orderId\":{\"type\":\"string\"},"
                          "\"status\":{\"type\":\"string\"},\"totalAmount\":{\"type\":\"number\"},"
                          "\"message\":{\"type\":\"string\"}}}"},
        {.name = "demo.echo", .fn = echo, .flags = RBK_METHOD_INLINE,
         .description = "Gives its params back."},
        {.name = "demo.sleep", .fn = sleep_some, .description = "Answers after `seconds`."},
        {.name = "demo.fail", .fn = fail, .description = "Answers with an error."},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        int r = rbk_module_method(module, &methods[i]);
        if (r < 0)
            return r;
    }
    return 0;
}
