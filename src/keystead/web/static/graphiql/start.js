"use strict";

// Secrets typed into the header editor stay in this tab: they are never kept in the browser's storage.
const example = `# Ctrl-Enter runs the operation under the cursor.
# Credentials go into "Headers" below:
#   { "keystead-api-key": "ks_sk_..." }

{
  health {
    data {
      up
    }
  }
}
`;

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({ url: "/graphql" }),
    isHeadersEditorEnabled: true,
    shouldPersistHeaders: false,
    showPersistHeadersSettings: false,
    defaultEditorToolsVisibility: "headers",
    defaultQuery: example,
  }),
);
