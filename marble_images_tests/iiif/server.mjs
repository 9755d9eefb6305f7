// Serves the TIFFs of a folder with iiif-processor, as serverless-iiif does, on a port of 127.0.0.1.
// With "measured" as the second argument the levels' sizes come from a list, as from an object's metadata.
import { createReadStream, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { Processor } from "iiif-processor";

const [folder, sizes] = process.argv.slice(2);

const streamResolver = async ({ id }) => createReadStream(join(folder, `${id}.tif`));

const dimensionFunction = async ({ id }) => {
  const { width, height, pages } = JSON.parse(readFileSync(join(folder, `${id}.json`), "utf8"));
  return Array.from({ length: pages }, (_, n) => ({
    width: Math.floor(width / 2 ** n),
    height: Math.floor(height / 2 ** n),
  }));
};

const server = createServer(async (request, response) => {
  const url = `http://${request.headers.host}${request.url}`;
  try {
    const options = sizes === "measured" ? { dimensionFunction } : {};
    const result = await new Processor(url, streamResolver, options).execute();
    if (result.type === "content") {
      response.writeHead(200, { "content-type": result.contentType });
      response.end(result.body);
    } else {
      response.writeHead(result.statusCode ?? 500, { "content-type": "text/plain" });
      response.end(String(result.message ?? result.location));
    }
  } catch (error) {
    response.writeHead(error.statusCode ?? 500, { "content-type": "text/plain" });
    response.end(`${error.message}\n${error.stack}`);
  }
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
