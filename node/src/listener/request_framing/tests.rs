use super::*;

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn shedder(text: &str) -> Rest {
    RequestFraming::default().follow(text.as_bytes(), u64::MAX).1
}

/// The same bytes in pieces of each length must come to the same.
fn follow_pieces(text: &str, len: usize) -> (usize, Rest) {
    let (mut heads, mut held, mut passed) = (RequestFraming::default(), Vec::new(), 0);
    let mut rest = Rest::Nothing;
    heads.answered(u64::MAX);
    for piece in text.as_bytes().chunks(len) {
        held.extend_from_slice(piece);
        let (count, now) = heads.follow(&held, u64::MAX);
        // Empty lines are forgotten.
        let over = if now == Rest::Blank { held.len() } else { count };
        passed += over;
        held.drain(..over);
        rest = now;
        if matches!(rest, Rest::Refused(_)) {
            break;
        }
    }
    (passed, rest)
}

#[test]
fn whole_requests_pass_one_behind_the_other_in_whatever_pieces() {
    let all = [
        GET,
        "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET \n",
        "PUT /b?c HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=1\r\na\nb\r\n0\r\nt: 1\r\n\r\n",
        "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
        GET,
    ]
    .concat();
    for len in 1..all.len() {
        assert_eq!(follow_pieces(&all, len), (all.len(), Rest::Nothing), "in pieces of {len}");
    }
    let cut = &all[..all.len() - 3];
    assert_eq!(follow_pieces(cut, 7), (all.len() - GET.len(), Rest::Head));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for bad in [
        "GET / HTTP/1.1\nhost: a\n\n",
        "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
        "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n x: folded\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nhost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:\r a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\x0c\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\r\n\r\n",
        "G\0T / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(shedder(bad), Rest::Refused(Fault::Malformed), "{bad:?}");
        let behind = format!("{GET}{bad}");
        for len in 1..behind.len() {
            let (passed, rest) = follow_pieces(&behind, len);
            assert_eq!((passed, rest), (GET.len(), Rest::Refused(Fault::Malformed)), "{bad:?}");
        }
    }
}

#[test]
fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
    for good in [
        "a",
        "a.example",
        "a.example.",
        "A.example:8443",
        "a.example.:80",
        "my_service:3000",
        "-",
        "xn--bcher-kva.example",
        "localhost",
        "127.0.0.1:1",
        "[::1]",
        "[2001:DB8::1]:443",
        "[::ffff:192.0.2.1]",
        "a.example:",
    ] {
        for text in [
            format!("GET / HTTP/1.1\r\nhost: {good}\r\n\r\n"),
            format!("GET http://{good}/x HTTP/1.1\r\nhost: a\r\n\r\n"),
        ] {
            assert_eq!(shedder(&text), Rest::Nothing, "{text}");
        }
    }
    for bad in [
        "",
        ".",
        ".a",
        "a..",
        "a..b",
        "a.example, b.example",
        "a,b",
        "a@b",
        "a:80:80",
        ":80",
        "a:x",
        "a:-1",
        "a b",
        "a/b",
        "a?b",
        "a%2eb",
        "a\\b",
        "\"a\"",
        "a;b",
        "b\u{fc}cher",
        "::1",
        "[::1",
        "[::1]x",
        "[::1]:x",
        "[::1%25eth0]",
        "[a]",
        "[]",
        "[::1]]",
    ] {
        let text = format!("GET / HTTP/1.1\r\nhost: {bad}\r\n\r\n");
        assert_eq!(shedder(&text), Rest::Refused(Fault::Malformed), "{text}");
        let old = format!("GET / HTTP/1.0\r\nhost: {bad}\r\n\r\n");
        assert_eq!(shedder(&old), Rest::Refused(Fault::Malformed), "{old}");
    }
    for bad in ["http://", "http:///x", "http://a..@b../x", "http://a,b/x", "https://a:80:80", "http://?x"] {
        let text = format!("GET {bad} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(shedder(&text), Rest::Refused(Fault::Malformed), "{text}");
    }
    assert_eq!(shedder("GET / HTTP/1.0\r\n\r\n"), Rest::Nothing, "who speaks HTTP/1.0 need not say it");
}

#[test]
fn methods_of_proxies_are_refused() {
    for bad in ["TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n"] {
        assert_eq!(shedder(bad), Rest::Refused(Fault::Method), "{bad:?}");
    }
}

#[test]
fn a_head_is_bounded() {
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
    assert_eq!(shedder(&long), Rest::Refused(Fault::TooLarge));
    assert_eq!(shedder(&format!("{long}\r\n\r\n")), Rest::Refused(Fault::TooLarge));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(LINES_MAX));
    assert_eq!(shedder(&many), Rest::Refused(Fault::TooLarge));
    assert_eq!(shedder(&"\r\n".repeat(EMPTY_LINES_MAX)), Rest::Blank);
    assert_eq!(shedder(&"\r\n".repeat(EMPTY_LINES_MAX + 1)), Rest::Refused(Fault::Malformed));
}

#[test]
fn what_belongs_to_a_socket_is_not_looked_at() {
    let text = "GET / HTTP/1.1\r\nhost: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n\x01\n\n\n\0";
    assert_eq!(RequestFraming::default().follow(text.as_bytes(), u64::MAX), (text.len(), Rest::Nothing));
}

/// What the server sees of this.
fn seen(text: &str) -> (Rest, String) {
    let (mut heads, mut bytes) = (RequestFraming::default(), text.as_bytes().to_vec());
    heads.answered(u64::MAX);
    let (passed, rest) = heads.follow(&bytes, u64::MAX);
    heads.hide(&mut bytes);
    (rest, String::from_utf8(bytes[..passed].to_vec()).unwrap())
}

#[test]
fn a_wish_for_another_protocol_that_is_no_handshake_is_hidden_and_ends_no_request_elsewhere() {
    for head in [
        "POST / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nupgrade:  WebSocket\r\ntransfer-encoding: chunked\r\n\r\n",
        "DELETE / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive , Upgrade\r\nupgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: Upgrade, HTTP2-Settings\r\n\r\n",
        "GET / HTTP/1.0\r\nupgrade: websocket\r\nconnection: upgrade, keep-alive\r\n\r\n",
    ] {
        let body = match head {
            _ if head.contains("chunked") => "2\r\nab\r\n0\r\n\r\n",
            _ if head.contains("content-length") => "ab",
            _ => "",
        };
        let text = format!("{GET}{head}{body}{GET}");
        let (rest, passed) = seen(&text);
        assert_eq!((rest, passed.len()), (Rest::Nothing, text.len()), "{head}");
        let lower = passed.to_lowercase();
        assert!(!lower.contains("websocket") && !lower.contains(": upgrade"), "{passed}");
        assert!(!lower.contains(", upgrade"), "{passed}");
        assert!(passed.starts_with(GET) && passed.ends_with(GET), "{passed}");
    }
}

#[test]
fn a_handshake_that_could_be_read_in_two_ways_is_refused() {
    let with = |more: &str| format!("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n{more}\r\n");
    for more in [
        "upgrade: websocket, x\r\n",
        "upgrade: x,WebSocket\r\n",
        "upgrade: websocket\r\nupgrade: websocket\r\n",
        "upgrade: websocket\r\ntransfer-encoding: chunked\r\n",
        "upgrade: websocket\r\ncontent-length: 1\r\n",
    ] {
        assert_eq!(shedder(&with(more)), Rest::Refused(Fault::Malformed), "{more}");
    }
    let good = with("upgrade: websocket\r\ncontent-length: 0\r\n");
    assert_eq!(seen(&good), (Rest::Nothing, good.clone()));
}

#[test]
fn a_trailer_is_written_as_a_header_is() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
    for good in ["\r\n", "a: b\r\n\r\n", "a:\r\nb-c: \td\r\n\r\n"] {
        let text = format!("{head}{good}{GET}");
        for len in 1..text.len() {
            assert_eq!(follow_pieces(&text, len), (text.len(), Rest::Nothing), "{good:?}");
        }
    }
    for bad in [
        "a: b\n\r\n",
        "a\r\n\r\n",
        " a: b\r\n\r\n",
        "a: b\0\r\n\r\n",
        "a: b\r\n c\r\n\r\n",
        "\n",
        ": b\r\n\r\n",
    ] {
        let text = format!("{head}{bad}{GET}");
        let (passed, rest) = RequestFraming::default().follow(text.as_bytes(), u64::MAX);
        assert_eq!(rest, Rest::Broken, "{bad:?}");
        assert!((head.len()..head.len() + bad.len()).contains(&passed), "{bad:?}");
    }
}

#[test]
fn a_target_is_a_path_or_a_whole_address() {
    for target in ["/", "/a?b", "http://a/b", "HTTPS://a"] {
        assert_eq!(shedder(&format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")), Rest::Nothing, "{target}");
    }
    assert_eq!(shedder("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"), Rest::Nothing);
    for target in ["x:80", "a", "*", "ftp://a/b", "http:/a"] {
        let head = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(shedder(&head), Rest::Refused(Fault::Malformed), "{target}");
    }
}

#[test]
fn a_body_that_must_go_on_is_known_by_its_request() {
    let mut heads = RequestFraming::default();
    assert_eq!(heads.in_body(), None);
    heads.follow(GET.as_bytes(), u64::MAX);
    assert_eq!(heads.in_body(), None);
    heads.follow(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na", u64::MAX);
    assert_eq!(heads.in_body(), Some(2));
    heads.follow(b"bPOST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", u64::MAX);
    assert_eq!(heads.in_body(), Some(3));
    heads.follow(b"0\r\n\r\n", u64::MAX);
    assert_eq!(heads.in_body(), None);
}

#[test]
fn a_large_body_is_known_by_its_head() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\nExpect: 100-continue\r\ncontent-length:  4096 \r\n\r\n";
    let text = format!("{GET}{head}abc");
    let mut heads = RequestFraming::default();
    heads.follow(text.as_bytes(), u64::MAX);
    let large = heads.large().unwrap().clone();
    assert_eq!((&text[large.length], large.end, large.expects), ("4096", GET.len() + head.len(), true));
    assert_eq!((heads.in_large_body(), heads.left()), (Some(2), 4093));
    heads.follow(&[b'x'; 4093], u64::MAX);
    assert_eq!((heads.in_large_body(), heads.left(), heads.at_head()), (None, 0, true));
    heads.follow(head.replace("4096", "4095").as_bytes(), u64::MAX);
    assert_eq!((heads.in_large_body(), heads.left()), (None, 4095));
}

#[test]
fn a_body_is_not_taken_for_a_head() {
    let inside = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 21\r\n\r\nGET / HTTP/1.1\nx: y\n\n";
    assert_eq!(shedder(inside), Rest::Nothing);
    let broken = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\n\n";
    assert_eq!(shedder(broken), Rest::Nothing, "the server refuses it");
}

#[test]
fn no_more_heads_pass_than_there_is_room_for() {
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok";
    let text = format!("{GET}{post}{GET}{GET}");
    let mut heads = RequestFraming::default();
    assert_eq!(heads.follow(text.as_bytes(), 2), (GET.len() + post.len(), Rest::Full));
    let rest = &text[GET.len() + post.len()..];
    assert_eq!(heads.follow(rest.as_bytes(), 0), (0, Rest::Full));
    assert_eq!(heads.follow(rest.as_bytes(), 2), (rest.len(), Rest::Nothing));
    assert_eq!(heads.requests(), 4);
}

#[test]
fn what_would_change_the_answers_before_it_waits_for_them_and_lets_nothing_pass_before_its_own() {
    for head in [
        "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\nPOST / HTTP/1.0\r\nconnection: x, Keep-Alive\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let text = format!("{GET}{head}{GET}");
        let mut heads = RequestFraming::default();
        for piece in [GET, head, GET].into_iter().zip(0..).map(|(piece, answered)| (piece.len(), answered)) {
            let (len, answered) = piece;
            let from = if answered == 0 { 0 } else { GET.len() + (answered as usize - 1) * head.len() };
            heads.answered(answered);
            let (passed, rest) = heads.follow(&text.as_bytes()[from..], 9);
            assert_eq!(
                (passed, rest == Rest::Full),
                (len, answered < 2),
                "{head:?} after {answered} answers"
            );
            // Looked at again, nothing has changed.
            let behind = heads.follow(&text.as_bytes()[from + passed..], 9);
            assert_eq!(behind, (0, if answered < 2 { Rest::Full } else { Rest::Nothing }));
        }
    }
}

#[test]
fn nothing_passes_behind_a_request_that_closes_the_connection() {
    for (head, closes) in [
        ("POST / HTTP/1.1\r\nhost: a\r\nconnection: x , CLOSE\r\ncontent-length: 2\r\n\r\nok", true),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nconnection: keep-alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: closed\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close, \u{e4}\r\n\r\n", false),
    ] {
        let text = format!("{head}{GET}");
        let mut heads = RequestFraming::default();
        heads.answered(u64::MAX);
        let (passed, rest) = heads.follow(text.as_bytes(), 9);
        let expected = if closes { (head.len(), Rest::Full) } else { (text.len(), Rest::Nothing) };
        assert_eq!((passed, rest), expected, "{head:?}");
        assert_eq!(heads.is_over(), closes);
    }
}

#[test]
fn empty_lines_before_a_head_are_no_head() {
    let mut heads = RequestFraming::default();
    assert_eq!(heads.follow(b"\r\n\r\n", 9), (0, Rest::Blank));
    assert_eq!(heads.follow(b"\r", 9), (0, Rest::Head), "its end is missing");
    assert_eq!(heads.follow(b"\r\n", 9), (0, Rest::Blank));
    let text = format!("\r\n\r\n{GET}\r\n");
    assert_eq!(heads.follow(text.as_bytes(), 9), (text.len() - 2, Rest::Blank));
    assert_eq!(heads.follow("\r\n".repeat(2 * LINES_MAX).as_bytes(), 9), (0, Rest::Refused(Fault::TooLarge)));
    let head = "\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4096\r\n\r\n";
    let mut heads = RequestFraming::default();
    heads.follow(head.as_bytes(), 9);
    let large = heads.large().unwrap().clone();
    assert_eq!((&head[large.length], large.end), ("4096", head.len()));
}

#[test]
fn a_body_of_unknown_length_is_held_back_like_a_large_one() {
    let mut heads = RequestFraming::default();
    heads.follow(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", 9);
    assert_eq!((heads.in_held_body(), heads.in_large_body()), (Some(1), None));
    heads.follow(b"1\r\na\r\n0\r\n\r\n", 9);
    assert_eq!(heads.in_held_body(), None);
}
