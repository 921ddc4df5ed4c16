const words: string = "hello from deno";

Deno.serve({ port: Number(Deno.env.get("PORT")), hostname: "0.0.0.0" }, () => new Response(words));
