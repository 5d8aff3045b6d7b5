<?php
/*
 * A message to a user over HTTP, from PHP 8 with its curl extension.
 *
 *   php push.php USER TEXT      CRIER_URL (default http://localhost:8080), CRIER_KEY: an API key, unless with --dev
 *
 * One handle for all calls: curl keeps the connection between them.
 */
declare(strict_types=1);

final class Crier
{
    private CurlHandle $curl;

    public function __construct(private string $url, private string $key = '')
    {
        $this->curl = curl_init();
    }

    /* Returns ['id' => …, 'seq' => …, 'online' => …] once the broker has stored the message. */
    public function push(string $user, mixed $data, array $options = []): array
    {
        // The id makes a repetition harmless, so no answer is a reason to ask again.
        $body = ['user' => $user, 'data' => $data, 'id' => bin2hex(random_bytes(16)), ...$options];
        $headers = ['Content-Type: application/json', 'Expect:'];
        if ($this->key !== '') {
            $headers[] = "Authorization: Bearer $this->key";
        }
        $wait = 1;
        curl_setopt_array($this->curl, [
            CURLOPT_URL => "$this->url/api/push",
            CURLOPT_POSTFIELDS => json_encode($body, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE),
            CURLOPT_HTTPHEADER => $headers,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 10,
            CURLOPT_HEADERFUNCTION => function ($curl, string $line) use (&$wait): int {
                if (preg_match('/^retry-after: *(\d+)/i', $line, $m)) {
                    $wait = (int) $m[1];
                }
                return strlen($line);
            },
        ]);
        for ($attempt = 1;; $attempt++) {
            $text = curl_exec($this->curl);
            $status = curl_getinfo($this->curl, CURLINFO_RESPONSE_CODE);
            if ($text !== false && $status === 200) {
                return json_decode($text, true, flags: JSON_THROW_ON_ERROR)['results'][0];
            }
            if ($attempt === 5 || ($text !== false && $status !== 503 && $status !== 429)) {
                throw new RuntimeException($text === false ? curl_error($this->curl) : "$status $text");
            }
            sleep($wait);
        }
    }
}

$crier = new Crier(getenv('CRIER_URL') ?: 'http://localhost:8080', getenv('CRIER_KEY') ?: '');
[, $user, $text] = $argv;
echo json_encode($crier->push($user, ['text' => $text], ['event' => 'note']), JSON_UNESCAPED_UNICODE), "\n";
