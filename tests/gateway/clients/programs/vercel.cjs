// The Vercel AI SDK at a gateway; prints what came of each step as one object.
//
//     vercel.cjs URL MODEL responses|chat|compatible|anthropic
globalThis.AI_SDK_LOG_WARNINGS = false; // they go to where the object goes

const { generateText, streamText, Output, tool, stepCountIs } = require("ai");
const { createOpenAI } = require("@ai-sdk/openai");
const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
const { createAnthropic } = require("@ai-sdk/anthropic");
const { z } = require("zod");

const [url, name, dialect] = process.argv.slice(2);
const reach = { baseURL: `${url}/v1`, apiKey: "unused" };
const model = {
  responses: () => createOpenAI(reach)(name),
  chat: () => createOpenAI(reach).chat(name),
  compatible: () => createOpenAICompatible({ ...reach, name: "gateway", supportsStructuredOutputs: true, includeUsage: true })(name),
  anthropic: () => createAnthropic(reach)(name),
}[dialect]();

const weather = tool({
  description: "Tells the weather.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `Rain in ${city}.`,
});
const asked = { model, system: "Be brief.", tools: { weather }, stopWhen: stepCountIs(4), maxRetries: 0 };
const question = { role: "user", content: "How is it in Riga?" };

async function main() {
  const told = {};
  const first = await generateText({ ...asked, messages: [question] });
  const messages = [question, ...first.response.messages, { role: "user", content: "And?" }];
  const second = await generateText({ ...asked, messages });
  told.turns = [first.text, second.text];
  const streamed = streamText({ ...asked, messages: [question] });
  const kinds = new Set();
  for await (const part of streamed.fullStream) kinds.add(part.type);
  told.stream = [await streamed.text, (await streamed.totalUsage).totalTokens, [...kinds]];
  const schema = z.object({ name: z.string(), population: z.number() });
  told.structured = (await generateText({ model, prompt: "Riga?", output: Output.object({ schema }) })).output;
  await generateText({ model, prompt: "Fail.", maxRetries: 0 }).catch((error) => (told.error = error.message));
  return told;
}

main().then((told) => process.stdout.write(JSON.stringify(told)));
