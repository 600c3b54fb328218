// uWebSockets as a server under test, with its publish and subscribe. `tests/setup` builds it.
#include "App.h"

#include <cstdio>
#include <cstdlib>
#include <thread>

struct Peer {};

int main() {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    std::thread([] {
        while (std::getchar() != EOF) {}
        std::_Exit(0);
    }).detach();
    // It does not pass a backlog on: 512 connections may wait. TCP_NODELAY it sets by itself.
    uWS::App()
        .ws<Peer>("/*", {
            .compression = uWS::DISABLED,
            .maxPayloadLength = 1024 * 1024,
            .idleTimeout = 0,
            // As much as wsmesh lets wait for a peer; by default it drops what exceeds 64 KiB.
            .maxBackpressure = 4 * 1024 * 1024,
            .sendPingsAutomatically = false,
            .open = [](auto *peer) { peer->subscribe("all"); },
            // To all but the publisher.
            .message = [](auto *peer, std::string_view message, uWS::OpCode kind) {
                peer->publish("all", message, kind);
            },
        })
        .listen("127.0.0.1", 0, [](us_listen_socket_t *listener) {
            if (listener == nullptr) std::exit(1);
            std::printf("listening on 127.0.0.1:%d\n", us_socket_local_port(0, (us_socket_t *) listener));
        })
        .run();
}
