const headers = { authorization: `Bearer ${process.env.API_KEY}` };
const answer = await fetch("https://api.thaw.example/fetch", { headers });
console.log(await answer.text());
