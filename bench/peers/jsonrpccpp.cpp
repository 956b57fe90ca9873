// SPDX-License-Identifier: Apache-2.0
// bench/peers/jsonrpccpp.cpp - demo.echo on libjson-rpc-cpp: its HTTP server (libmicrohttpd),
// a thread for each core.  jsonrpccpp PORT THREADS
#include <arpa/inet.h>
#include <cstdlib>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <jsonrpccpp/server.h>
#include <jsonrpccpp/server/connectors/httpserver.h>

// The library's server listens on every address, and cannot be told otherwise; the benches
// stay on loopback. The program's own bind() goes before that of the C library.
extern "C" int bind(int fd, const struct sockaddr *addr, socklen_t n) noexcept
{
    sockaddr_in own = {};
    if (addr->sa_family == AF_INET) {
        own = *reinterpret_cast<const sockaddr_in *>(addr);
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        addr = reinterpret_cast<const sockaddr *>(&own);
    }
    return static_cast<int>(syscall(SYS_bind, fd, addr, n));
}

class Echo : public jsonrpc::AbstractServer<Echo> {
public:
    explicit Echo(jsonrpc::AbstractServerConnector &c) : AbstractServer<Echo>(c, jsonrpc::JSONRPC_SERVER_V2)
    {
        bindAndAddMethod(jsonrpc::Procedure("demo.echo", jsonrpc::PARAMS_BY_NAME, jsonrpc::JSON_OBJECT, NULL),
                         &Echo::echo);
    }

    void echo(const Json::Value &params, Json::Value &result) { result = params; }
};

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    jsonrpc::HttpServer http(std::atoi(argv[1]), "", "", std::atoi(argv[2]));
    Echo echo(http);
    if (!echo.StartListening())
        return 1;
    for (;;)
        pause();
}
